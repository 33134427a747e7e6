"""UCLR: pretraining, contrastive auto-encoder, low-rank adaptation per domain."""
