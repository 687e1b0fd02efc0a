"""The paper's figures, `figure1` to `figure4`, in one `style`.

`panels` holds what their panels have in common.
"""
