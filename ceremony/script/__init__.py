"""The script of a ceremony: its steps, in an order that can be, and who does what in each."""

from ceremony.script.build import build_script, numbered
from ceremony.script.model import Expected, Known, Material, Script, Section, Step
from ceremony.script.names import StepName

__all__ = ["Expected", "Known", "Material", "Script", "Section", "Step", "StepName", "build_script", "numbered"]
