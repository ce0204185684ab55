"""A static page that runs a model in a browser. Building it needs ONNX Runtime, to check the model, and npm once."""
