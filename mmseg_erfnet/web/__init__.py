"""A static page that runs a model in the browser. Building it needs ONNX Runtime to check the model, and npm once."""
