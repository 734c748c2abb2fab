"""Values enter, widgets leave: what the painter touches. Knows models only."""
