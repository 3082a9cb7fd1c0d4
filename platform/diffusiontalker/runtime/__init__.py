"""The student without torch or ray: numpy and ONNX Runtime alone."""
