"""Converts the published weights into the files that we ship; run by scripts/convert-models."""
