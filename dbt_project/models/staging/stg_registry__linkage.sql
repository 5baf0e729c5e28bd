{{ staged("linkage", kind="registry") }}
