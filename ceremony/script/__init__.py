"""The script of a ceremony: its steps, in an order that can be, and who does what in each."""

from ceremony.script.names import StepName

__all__ = ["StepName"]
