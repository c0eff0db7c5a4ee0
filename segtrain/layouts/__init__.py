"""How images and labels lie in folders: one class for each layout, with `find(root) -> Listing` (data/listing.py).

folder (any arrangement of images and masks)   table (csv)   stack (pages of TIFF)   voc   cityscapes   pet
coco   labelme   yolo   objects (a mask for each object)

To add one: a class in a file of this folder, its name in `build.py:BUILDERS`, a yaml in conf/data/ on top of `_files`.
"""
