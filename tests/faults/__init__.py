"""Faults done to real processes, each with what must hold while it lasts and afterwards."""
