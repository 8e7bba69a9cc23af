"""From hosts and servers to one Observed value, through ports only. Trouble is data with a reason."""
