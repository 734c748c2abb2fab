"""Names and files enter; loaded networks on a device leave."""
