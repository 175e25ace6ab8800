"""The recurrent laboratory: fetch, prepare, train, evaluate, report and sample sequence models."""
