"""The hot operations, each with its plain-torch reference beside it."""

from gancli.ops.denormals import flushed_denormals as flushed_denormals
from gancli.ops.dense import dense as dense
from gancli.ops.dense import dense_reference as dense_reference
from gancli.ops.distances import count_in_balls as count_in_balls
from gancli.ops.distances import count_in_balls_reference as count_in_balls_reference
from gancli.ops.distances import nearest_squared_distances as nearest_squared_distances
from gancli.ops.distances import nearest_squared_distances_reference as nearest_squared_distances_reference
from gancli.ops.dropout import dropout as dropout
from gancli.ops.dropout import dropout_reference as dropout_reference
from gancli.ops.gradients import bound_gradient_norm_ as bound_gradient_norm_
from gancli.ops.gradients import gradients as gradients
from gancli.ops.maxout import maxout as maxout
from gancli.ops.maxout import maxout_reference as maxout_reference
from gancli.ops.maxout_conv import maxout_conv2d as maxout_conv2d
from gancli.ops.maxout_conv import maxout_conv2d_reference as maxout_conv2d_reference
from gancli.ops.momentum import momentum_update as momentum_update
from gancli.ops.momentum import momentum_update_reference as momentum_update_reference
from gancli.ops.parzen import parzen_log_likelihood as parzen_log_likelihood
from gancli.ops.parzen import parzen_log_sum_exp as parzen_log_sum_exp
from gancli.ops.parzen import parzen_log_sum_exp_reference as parzen_log_sum_exp_reference
