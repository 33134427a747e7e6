"""Towers and products over several domains: ADC, CoNet, NeuMF, CMF, PEPNet, GA-MTCDR, MV-DNN, UniCDR, ..."""
