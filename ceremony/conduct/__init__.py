"""Acts as they happen: HSM, files, transcript and people in their order. The pure parts live one floor up."""
