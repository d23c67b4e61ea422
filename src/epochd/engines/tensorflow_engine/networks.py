"""The networks in TensorFlow and Keras operations: plain functions of the canonical weights.

The weights are slices of one flat tensor, so that the optimizer needs only a few operations for any number of layers,
which also halves XLA's compile time. ``drop`` is called after each hidden layer with the layer's values, its number and
the axis of the rows.
"""

from collections.abc import Callable
from itertools import product
from math import prod

from epochd.engines import network
from epochd.engines.tensorflow_engine.recurrent import Drop, Weights, recurrent
from epochd.engines.tensorflow_engine.runtime import Tensor, keras, tf
from epochd.loop.engine import Setup

Convolution = Callable[[Tensor, Tensor], Tensor]


def no_dropout(hidden: Tensor, layer: int, rows_axis: int) -> Tensor:
    """The ``Drop`` of evaluation."""
    return hidden


def named(setup: Setup, flat: Tensor, dtype: str = "float32") -> Weights:
    """Canonical weights as views of a flat tensor, in ``dtype``; embeddings stay in float32.

    The gradient of an embedding is the sum over all rows of a category, for which bfloat16 is too coarse.
    """
    shapes = network.shapes(setup)
    parts = tf.split(flat, [prod(shape) for shape in shapes.values()])
    found = {name: tf.reshape(part, shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    return {name: part if name.startswith("embedding") else tf.cast(part, dtype) for name, part in found.items()}


def forward(setup: Setup, weights: Weights, x: Tensor, drop: Drop, *, compiled: bool, dtype: str = "float32") -> Tensor:
    """Features (rows, *inputs) → raw outputs (rows, outputs). ``compiled``: XLA compiles this for a CPU."""
    features, lengths = embed_inputs(setup, weights, x, dtype)
    match setup.spec.model_type:
        case "mlp":
            hidden = mlp(setup, weights, features, drop)
        case "cnn":
            convolve = patches_convolution if compiled else library_convolution
            hidden = cnn(setup, weights, features, lengths, drop, convolve)
        case _:
            hidden = recurrent(setup, weights, features, lengths, drop)
    return dense(hidden, weights, "output")


def embed_inputs(setup: Setup, weights: Weights, x: Tensor, dtype: str) -> tuple[Tensor, Tensor | None]:
    """Look up the embeddings and remove the mask: (rows, *hidden_inputs), and each sequence's length if masked.

    Rows of padding only, which fill up batches, count as sequences of one step, so that every index is valid.
    Codes and lengths are read before the cast, since bfloat16 cannot represent 257. The gradient of ``tf.gather``
    becomes dense at the concatenation of the flat weights, by one segment sum in the order of the rows.
    """
    lengths = tf.maximum(tf.cast(tf.reduce_sum(x[..., -1], 1), tf.int32), 1) if setup.masked else None
    if not (setup.embeddings or setup.masked):
        return tf.cast(x, dtype), lengths
    vectors = [
        tf.gather(weights[f"embedding.{i}.weight"], tf.cast(x[..., embedding.channel], tf.int32))
        for i, embedding in enumerate(setup.embeddings)
    ]
    plain = tf.gather(x, tf.constant(network.plain_channels(setup), tf.int32), axis=-1)
    return tf.cast(tf.concat([plain, *vectors], -1), dtype), lengths


def dense(x: Tensor, weights: Weights, layer: str) -> Tensor:
    return tf.matmul(x, weights[f"{layer}.weight"], transpose_b=True) + weights[f"{layer}.bias"]


def activate(setup: Setup, x: Tensor) -> Tensor:
    """Keras's activations, with the tanh form of gelu, which is not Keras's default."""
    if setup.spec.activation == "gelu":
        return keras.activations.gelu(x, approximate=True)
    return keras.activations.get(setup.spec.activation)(x)


def mlp(setup: Setup, weights: Weights, x: Tensor, drop: Drop) -> Tensor:
    hidden = tf.reshape(x, [-1, prod(network.hidden_inputs(setup))])
    for i in range(len(setup.spec.hidden_units)):
        hidden = drop(activate(setup, dense(hidden, weights, f"hidden.{i}")), i, 0)
    return hidden


def cnn(setup: Setup, weights: Weights, x: Tensor, lengths: Tensor | None, drop: Drop, convolve: Convolution) -> Tensor:
    hidden, exists = x, None
    if lengths is not None:
        exists = tf.sequence_mask(lengths, x.shape[1], x.dtype)[..., None]
        hidden = x * exists
    for i in range(len(setup.spec.hidden_units)):
        kernel = weights[f"hidden.{i}.weight"]
        kernel = tf.transpose(kernel, [*range(2, kernel.shape.rank), 1, 0])
        found = activate(setup, convolve(hidden, kernel) + weights[f"hidden.{i}.bias"])
        if exists is not None:
            found, exists = found * exists, max_pool(exists)
        hidden = drop(max_pool(found), i, 0)
    channels_first = tf.transpose(hidden, [0, hidden.shape.rank - 1, *range(1, hidden.shape.rank - 1)])
    return tf.reshape(channels_first, [-1, prod(hidden.shape[1:])])


def library_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """(rows, *space, in), (*kernel, in, out) → (rows, *space, out); "same" puts the odd zero after."""
    return keras.ops.conv(x, kernel, padding="same", data_format="channels_last")


def patches_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """The same as one matrix product over patches.

    XLA for CPU has no fast convolution: 8.5 ms per step of the cnn 64-32 on 50 x 8, batch 32; this takes 0.36 ms.
    """
    space, sizes = x.shape[1:-1], kernel.shape[:-2]
    padded = tf.pad(x, [(0, 0), *(((k - 1) // 2, k // 2) for k in sizes), (0, 0)])
    parts = []
    for offsets in product(*map(range, sizes)):
        window = [slice(first, first + size) for first, size in zip(offsets, space, strict=True)]
        parts.append(padded[(slice(None), *window)])
    patches = tf.reshape(tf.concat(parts, -1), [-1, prod(kernel.shape[:-1])])
    found = tf.matmul(patches, tf.reshape(kernel, [-1, kernel.shape[-1]]))
    return tf.reshape(found, [-1, *space, kernel.shape[-1]])


def max_pool(x: Tensor) -> Tensor:
    """Max-pooling by 2 in each dimension of size 2 or more; the last value of an odd size is dropped."""
    for axis in range(1, x.shape.rank - 1):
        sizes = x.shape.as_list()
        if half := sizes[axis] // 2:
            even = x[(slice(None),) * axis + (slice(2 * half),)]
            x = tf.reduce_max(tf.reshape(even, [-1, *sizes[1:axis], half, 2, *sizes[axis + 1 :]]), axis + 1)
    return x
