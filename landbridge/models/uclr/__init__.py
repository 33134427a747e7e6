"""UCLR: pretraining, a contrastive auto-encoder, and low-rank adaptation per domain."""
