{{ staged("disposals", kind="registry") }}
