"""LayoutLMv2."""
