"""The field's own protocols beside ours: Open Inference Protocol v2 (KServe, Triton) and OpenAI's."""
