"""Mappings between the embeddings of separately trained domains: EMCDR and the fitted model."""
