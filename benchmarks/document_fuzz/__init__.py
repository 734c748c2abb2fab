"""A seed enters; whether a document that Nijimi watched is as one that it never saw leaves."""
