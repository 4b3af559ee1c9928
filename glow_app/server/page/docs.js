/* The reference of the API. A validator would send its address to another host. */
SwaggerUIBundle({ url: "openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null });
