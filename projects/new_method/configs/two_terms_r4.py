# PYTHONPATH=. python tools/train.py projects/new_method/configs/two_terms_r4.py
# No row of a paper: a method from outside of the package.
_base_ = '../../configs/retrieval.py'
custom_imports = dict(imports=['uniadapter', 'projects.new_method.two_terms'])

model = dict(adapter=dict(type='TwoTerms', rank=4))
