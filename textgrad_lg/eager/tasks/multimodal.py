"""TextGrad's tasks with images: see `textgrad_lg.eager.tasks`."""

from textgrad_lg.eager.tasks import load_instance_task as load_multimodal_instance_task

__all__ = ["load_multimodal_instance_task"]
