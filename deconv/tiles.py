"""A picture restored tile by tile, so that memory stays bounded, without seams."""
