class _Recorder:
    params_dict: dict[int, object]
    tensor2value: dict[int, object]

_global_parameter_recorder: _Recorder
_global_inplace_map: _Recorder
