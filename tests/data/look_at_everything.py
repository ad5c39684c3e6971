# Prints every variable of the notebook in full, and the next number of each generator.
import hashlib as _hashlib
def _short(data): return _hashlib.sha256(data).hexdigest()[:16]
def _look(v, depth=0):
    import types
    if isinstance(v, (pd.DataFrame, pd.Series, pd.Index)): return (type(v).__name__, str(getattr(v, 'dtypes', '')), _short(v.to_json(date_format='iso').encode()) if not isinstance(v, pd.Index) else list(map(str, v)))
    if isinstance(v, np.ndarray): return ('array', str(v.dtype), v.shape, v.strides, _short(v.tobytes()))
    if isinstance(v, np.random.Generator): return str(v.bit_generator.state)
    if isinstance(v, SGDClassifier): return (_short(v.coef_.tobytes()), v.get_params()) if hasattr(v, 'coef_') else v.get_params()
    if isinstance(v, Tree): return ('tree', v.total())
    if isinstance(v, (types.FunctionType, type)) or callable(v): return (type(v).__name__, v.__name__)
    if isinstance(v, types.ModuleType): return v.__name__
    if isinstance(v, (set, frozenset)): return sorted(v)
    if depth < 4 and isinstance(v, dict): return {str(k): _look(w, depth + 1) for k, w in v.items()}
    if depth < 4 and isinstance(v, (list, tuple)): return [_look(w, depth + 1) for w in v]
    return (type(v).__name__, repr(v))
for _name in sorted(n for n in dir() if not n.startswith('_') and n not in ('In', 'Out', 'exit', 'quit', 'get_ipython', 'open', 'session', 'keepstate')):
    print(_name, _look(globals()[_name]))
print('random', random.random(), np.random.rand(), rng.random())
