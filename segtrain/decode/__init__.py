"""Image and mask files to arrays, of any of the formats; what a data set is made of them stands in `segtrain.data`."""
