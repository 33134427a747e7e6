"""Graph networks over several domains: BiTGCF and HeroGRAPH, their steps and the fitted model."""
