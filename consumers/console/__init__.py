"""Looking into the pipeline: topics read for people, and what they tell, put together."""
