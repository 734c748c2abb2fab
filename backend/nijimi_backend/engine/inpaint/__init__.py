"""A canvas and a selection enter; regions, and a layer's pixels once rendered, leave."""
