"""UCLR and CAT-ART: pretrained embeddings, a contrastive auto-encoder, and adaptation to every domain."""
