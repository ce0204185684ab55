"""Measurements: latency of inference, throughput of training."""

# What `benchmark inference` measures beside MMSegmentation's own ERFNet.
ROWS = (
    'ours',
    'folded',
    'bf16',
    'compiled',
    'onnxruntime',
    'openvino-f32',
    'openvino-bf16',
    'openvino-int8',
    'cuda',
)
