"""A model for PyTorch: weights in safetensors, and a module written for exactly this network.

The module is generated from sizes only. No text of the model gets into it: whoever made the model chose its names.
"""

from collections.abc import Iterator
from math import log
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from epochd.artifact import files
from epochd.core.arrays import FloatArray
from epochd.core.spec_fields import Activation
from epochd.core.target_scale import FLOAT32_BOUNDS
from epochd.data.encoding.encoder import Encoder
from epochd.engines import network
from epochd.engines.reference import Weights
from epochd.export.channels import preprocessing
from epochd.export.saved_model import SavedModel
from epochd.loop import averaging
from epochd.loop.engine import Setup

ACTIVATIONS: dict[Activation, str] = {
    "relu": "F.relu({})",
    "tanh": "torch.tanh({})",
    "gelu": 'F.gelu({}, approximate="tanh")',
    "silu": "F.silu({})",
}
MODULE = '''\
"""The network of model.safetensors, written by epochd; dropout, which only training needs, is left out.

    from safetensors.torch import load_file

    model = Model()
    model.load_state_dict(load_file("model.safetensors"))

Features are float32 ({features}){fold}.
preprocessing.json says what {each} is, in their order ("channels"), and how it is scaled ("encoder").
"""

{module}from torch import Tensor, nn
{functional}

class {name}(nn.Module):
    def __init__(self) -> None:
        super().__init__()
{layers}

    def forward(self, features: Tensor) -> Tensor:
        """Features ({features}) -> {outputs} (rows, {width})."""
{steps}

    def predict(self, features: Tensor) -> Tensor:
        """Features ({features}) -> {predictions} (rows, {width})."""
        return {decode}
'''
AVERAGE = '''

class Model(nn.Module):
    """The average of several networks."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Member() for _ in range({members}))

    def forward(self, features: Tensor) -> Tensor:
        """Features ({features}) -> {outputs} (rows, {width}) of the average."""
{steps}

    def predict(self, features: Tensor) -> Tensor:
        """Features ({features}) -> {predictions} (rows, {width})."""
        return torch.stack([member.predict(features) for member in self.members]).mean(0)
'''


def write(saved: SavedModel, folder: Path) -> None:
    """Write ``model.safetensors``, ``model.py`` and ``preprocessing.json``."""
    model = saved.model
    save_file(state_dict(model.setup, model.weights), folder / "model.safetensors")
    (folder / "model.py").write_text(source_code(model.setup, model.encoder), encoding="utf-8")
    files.write_json(folder / "preprocessing.json", preprocessing(saved))


def state_dict(setup: Setup, weights: Weights) -> dict[str, FloatArray]:
    """The weights under the names of the module's parameters."""
    return averaging.joined([_of_member(setup, part) for part in averaging.divided(weights, setup.spec.members)])


def _of_member(setup: Setup, weights: Weights) -> dict[str, FloatArray]:
    """Those of one network. PyTorch's LSTM has a second bias, which is zero here."""
    if setup.spec.model_type not in network.GATES:
        return dict(weights)
    found: dict[str, FloatArray] = {}
    for name, values in weights.items():
        layer, _, parameter = name.rpartition(".")
        if not layer.startswith("hidden"):
            found[name] = values
            continue
        kind, reverse = parameter.removesuffix("_reverse"), "_reverse" if parameter.endswith("_reverse") else ""
        found[f"{layer}.{kind}_l0{reverse}"] = values
        if setup.spec.model_type == "lstm" and kind == "bias_ih":
            found[f"{layer}.bias_hh_l0{reverse}"] = np.zeros_like(values)
    return found


def source_code(setup: Setup, encoder: Encoder) -> str:
    """The module of this network: Python that imports torch only."""
    folded = encoder.windowed.shape[-1] != setup.inputs[-1]
    steps = [*_embedding_steps(setup), *_steps(setup), "return self.output(x)"]
    outputs, predictions, decode = {
        "binary": ("logits", "probabilities of the second class", "torch.sigmoid(self(features))"),
        "multiclass": ("logits", "probabilities", "torch.softmax(self(features), -1)"),
        "regression": (
            "standardised values",
            "values in the unit of the target",
            _restored(encoder),
        ),
    }[setup.task]
    layers, body = _indented(_layers(setup)), _indented(steps)
    features, members = ", ".join(["rows", *(str(int(size)) for size in setup.inputs)]), setup.spec.members
    shown = {"features": features, "outputs": outputs, "predictions": predictions, "width": int(setup.outputs)}
    average = _indented(_average_steps(setup, encoder))
    used = layers + body + decode + (average if members > 1 else "")
    found = MODULE.format(
        name="Model" if members == 1 else "Member",
        fold=f": {encoder.windowed.shape[-1]} numbers per row, reshaped" if folded else "",
        each="each number" if folded or len(setup.inputs) == 1 else "each channel of the last axis",
        layers=layers,
        steps=body,
        module="import torch\n" if "torch." in used else "",
        functional="from torch.nn import functional as F\n" if "F." in used else "",
        decode=decode,
        **shown,
    )
    return found if members == 1 else found + AVERAGE.format(members=members, steps=average, **shown)


def _average_steps(setup: Setup, encoder: Encoder) -> Iterator[str]:
    """The output of the average of several networks, as ``averaging.averaged``."""
    if setup.task == "regression" and encoder.target_transform is not None:
        numbers = f"torch.log1p(self.predict(features)) - {float(encoder.target_mean)!r}"
        yield f"return ({numbers}) / {float(encoder.target_scale)!r}"
        return
    yield "each = torch.stack([member(features) for member in self.members])"
    yield {
        "binary": "return F.logsigmoid(each).logsumexp(0) - F.logsigmoid(-each).logsumexp(0)",
        "multiclass": f"return torch.log_softmax(each, -1).logsumexp(0) - {log(setup.spec.members)!r}",
        "regression": "return each.mean(0)",
    }[setup.task]


def _restored(encoder: Encoder) -> str:
    """The expression of the target in its own unit."""
    numbers = f"self(features) * {float(encoder.target_scale)!r} + {float(encoder.target_mean)!r}"
    if encoder.target_transform is None:
        return numbers
    low, high = FLOAT32_BOUNDS
    return f"torch.expm1(({numbers}).clamp({low!r}, {high!r}))"


def _indented(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)


def _layers(setup: Setup) -> Iterator[str]:
    """Statements that make the layers, with the shapes of the canonical weights."""
    shapes, spec = network.shapes(setup), setup.spec
    if setup.embeddings:
        yield from _module_list("embedding", [f"nn.Embedding({int(e.codes)}, {int(e.size)})" for e in setup.embeddings])
    layers = []
    for i, units in enumerate(spec.hidden_units):
        if spec.model_type in network.GATES:
            kind, width = spec.model_type.upper(), shapes[f"hidden.{i}.weight_ih"][1]
            both = ", bidirectional=True" if spec.bidirectional else ""
            layers.append(f"nn.{kind}({width}, {units}, batch_first=True{both})")
            continue
        width, *kernel = shapes[f"hidden.{i}.weight"][1:]
        if spec.model_type == "mlp":
            layers.append(f"nn.Linear({width}, {units})")
        else:
            padding = f", padding={kernel[0] // 2}" if kernel[0] % 2 else ""
            layers.append(f"nn.Conv{len(kernel)}d({width}, {units}, {kernel[0]}{padding})")
    yield from _module_list("hidden", layers)
    yield f"self.output = nn.Linear({shapes['output.weight'][1]}, {int(setup.outputs)})"


def _module_list(name: str, layers: list[str]) -> Iterator[str]:
    yield f"self.{name} = nn.ModuleList("
    yield "    ["
    yield from (f"        {layer}," for layer in layers)
    yield "    ]"
    yield ")"


def _embedding_steps(setup: Setup) -> Iterator[str]:
    """``x``: the features, codes replaced by their vectors, without the mask; ``lengths`` of masked sequences."""
    if not (setup.embeddings or setup.masked):
        yield "x = features"
        return
    parts = [f"features[..., {run.start}:{run.stop}]" for run in network.plain_runs(setup)]
    parts += [f"self.embedding[{i}](features[..., {int(e.channel)}].long())" for i, e in enumerate(setup.embeddings)]
    if len(parts) == 1:
        yield f"x = {parts[0]}"
    else:
        yield "parts = ["
        yield from (f"    {part}," for part in parts)
        yield "]"
        yield "x = torch.cat(parts, -1)"
    if setup.masked and setup.spec.model_type != "mlp":
        yield "lengths = features[..., -1].sum(1).long().clamp(min=1)"


def _steps(setup: Setup) -> Iterator[str]:
    """From ``x`` to the values of the last hidden layer."""
    if setup.spec.model_type in network.GATES:
        yield from _recurrent_steps(setup)
    elif setup.spec.model_type == "cnn":
        yield from _cnn_steps(setup)
    else:
        if len(setup.inputs) > 1:
            yield "x = x.flatten(1)"
        yield "for layer in self.hidden:"
        yield f"    x = {ACTIVATIONS[setup.spec.activation].format('layer(x)')}"


def _recurrent_steps(setup: Setup) -> Iterator[str]:
    if setup.masked:
        yield "pack = nn.utils.rnn.pack_padded_sequence"
        yield "x = pack(x, lengths.cpu(), batch_first=True, enforce_sorted=False)"
    yield "for layer in self.hidden:"
    yield "    x, (ends, _) = layer(x)" if setup.spec.model_type == "lstm" else "    x, ends = layer(x)"
    yield "x = torch.cat([*ends], -1)"


def _cnn_steps(setup: Setup) -> Iterator[str]:
    directions, size = len(setup.inputs) - 1, setup.spec.kernel_size
    pool = "F.max_pool1d({0}, min(2, {0}.shape[-1]))"
    if directions == 2:
        pool = "F.max_pool2d({0}, [min(2, size) for size in {0}.shape[2:]])"
    masked = " * exists" if setup.masked else ""
    yield "x = x.movedim(-1, 1)"
    if setup.masked:
        yield "steps = torch.arange(x.shape[-1], device=x.device)"
        yield "exists = (steps < lengths[:, None])[:, None].to(x.dtype)"
        yield "x = x * exists"
    yield "for layer in self.hidden:"
    if size % 2 == 0:
        sides = ", ".join([str((size - 1) // 2), str(size // 2)] * directions)
        yield f"    x = F.pad(x, ({sides}))"
    yield f"    x = {ACTIVATIONS[setup.spec.activation].format('layer(x)')}{masked}"
    yield f"    x = {pool.format('x')}"
    if setup.masked:
        yield f"    exists = {pool.format('exists')}"
    yield "x = x.flatten(1)"
