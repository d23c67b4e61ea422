"""Models as ONNX graphs that take raw columns: encoder, network and decoding in one file for any ONNX runtime."""
