"""Records of Signpost's own topics, and the definitions of these topics."""
