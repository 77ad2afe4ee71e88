"""The crossing of the air gap: what is carried (bundles), how (frames, QR images) and how people compare it."""
