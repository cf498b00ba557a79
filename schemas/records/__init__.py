"""Records of Signpost's own topics, and the topics themselves."""
