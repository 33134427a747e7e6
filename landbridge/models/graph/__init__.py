"""Graph networks over several domains: BiTGCF, DisenCDR and HeroGRAPH, their steps and the fitted model."""
