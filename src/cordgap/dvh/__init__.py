"""From contours and dose to dose-volume histograms that hold on a thin cord in a steep gradient."""
