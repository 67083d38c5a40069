"""Models for other programs, and models of other programs. Notebook 27.

    onnx_files      a network as an ONNX file, which other programs and languages run; in float32 or in 8 bits
    with_diffusers  a network of the course as one of diffusers, and the other way round

Nothing else in the package imports onnx, onnxruntime or diffusers. The extra `production` brings the first two;
diffusers is installed by its own name.
"""

__all__ = []
