"""The learned half: networks unrolled from the solvers of `deconv`, on the same operators."""
