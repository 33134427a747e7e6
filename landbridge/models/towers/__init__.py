"""Tower networks over several domains: ADC, CoNet, NeuMF, CMF, PEPNet, GA-MTCDR."""
