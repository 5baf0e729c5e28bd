{{ staged("detentions", kind="registry") }}
