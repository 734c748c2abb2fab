"""A screen of our own, a Krita in a profile of its own, and a pointer that really moves."""
