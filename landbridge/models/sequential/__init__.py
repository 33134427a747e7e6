"""Sequential recommendation: SASRec and DWL."""
