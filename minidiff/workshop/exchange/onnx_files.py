"""A network as an ONNX file: written by PyTorch, run by onnxruntime, in float32 or in 8 bits. Notebook 27.

An ONNX file holds the graph of operations and the weights, and needs neither PyTorch nor this package to run.

Sources: ONNX's own documentation of its operators; Jacob et al. 2018, arXiv 1712.05877, section 2 (whole numbers with
a scale and a zero point); Krishnamoorthi 2018, arXiv 1806.08342 (a scale for each channel, calibration).
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole

__all__ = ["OnnxNetwork", "in_eight_bits", "to_onnx"]

OPSET = 20
MOST_AT_ONCE = 4096


def to_onnx(net: nn.Module, file: str | Path, shape: Sequence[int]) -> Path:
    """Write a network of images or points, (x, log_snr) -> something in the form of x, as an ONNX file.

    shape: of one sample, such as (1, 28, 28). The batch may have any size from 1 to 4,096 when the file is used.
    The example batch holds 2: with 0 or 1, PyTorch would take the number for a constant of the network.
    Raises ImportError where onnx or onnxscript is missing.
    """
    for size in shape:
        check_whole("each number of shape", size)
    import onnxscript  # noqa: F401  (PyTorch needs it: where it is missing, say so here)

    file = Path(file)
    parameter = next(net.parameters())
    example = parameter.new_zeros(2, *shape), parameter.new_zeros(2)
    batch = torch.export.Dim("batch", min=1, max=MOST_AT_ONCE)
    with quiet():
        torch.onnx.export(
            net,
            example,
            str(file),
            dynamo=True,
            opset_version=OPSET,
            input_names=["x", "log_snr"],
            output_names=["out"],
            dynamic_shapes=({0: batch}, {0: batch}),
            external_data=False,
            verbose=False,
        )
    return file


@contextlib.contextmanager
def quiet():
    """PyTorch's exporter and onnxruntime's tools say a lot about themselves. Errors are raised all the same."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class OnnxNetwork:
    """An ONNX file in the place of a network: (x, log_snr) -> a tensor. So `from_network` takes it.

    threads: how many cores onnxruntime may use. It knows no gradients and no labels.
    """

    def __init__(self, file: str | Path, threads: int = 1):
        import onnxruntime

        check_whole("threads", threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, x: Tensor, log_snr: Tensor, y: None = None) -> Tensor:
        if y is not None:
            raise ValueError("y must be None, since the file was written without labels")
        given = {"x": x.detach().cpu().numpy(), "log_snr": log_snr.detach().cpu().numpy()}
        return torch.from_numpy(self.session.run(None, given)[0]).to(x.device)


def in_eight_bits(file: str | Path, new_file: str | Path, examples: Sequence[tuple[Tensor, Tensor]]) -> Path:
    """Round weights and activations of an ONNX file to 8 bits: a scale for each channel of the weights.

    examples: batches (x, log_snr) as the network will meet them. The range of every activation is taken from them.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(examples)

        def get_next(self):
            pair = next(self.left, None)
            return None if pair is None else {"x": pair[0].numpy(), "log_snr": pair[1].numpy()}

    new_file = Path(new_file)
    with TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(new_file),
            Examples(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    return new_file
