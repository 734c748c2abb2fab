"""What the painter set and what is going on, as observable values without widgets."""
