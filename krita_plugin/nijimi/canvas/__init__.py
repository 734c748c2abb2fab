"""The only room that imports krita: documents enter; pixels, changes and pen events leave."""
