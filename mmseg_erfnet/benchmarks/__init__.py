"""Benchmarks: latency of inference, throughput of training."""

# What `benchmark inference` measures besides MMSegmentation's own ERFNet.
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
