"""Where batches come from: formats, procedural domains, crops, augmentation, loaders."""
