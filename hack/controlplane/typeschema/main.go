// Prints how Go encodes a core/v1 PodTemplateSpec and everything below it: per type and JSON field its kind,
// whether it is a pointer, and when it is left out. rbgctl/planning/core_types.json is this program's output;
// refresh it with, from this module's directory:
//
//	go run ./typeschema > ../../rbgctl/planning/core_types.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// shape is one value: a scalar kind, or a composite with its element or type.
type shape struct {
	Kind    string `json:"kind"`
	Pointer bool   `json:"pointer,omitempty"`
	Type    string `json:"type,omitempty"`
	Of      *shape `json:"of,omitempty"`
}

// field is a shape with the rule for leaving it out: "empty", "zero" or never.
type field struct {
	shape
	Omit string `json:"omit,omitempty"`
}

var special = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():  "quantity",
	reflect.TypeFor[intstr.IntOrString](): "intorstring",
	reflect.TypeFor[metav1.Time]():        "time",
	reflect.TypeFor[metav1.FieldsV1]():    "any",
}

// The wire format is that of Kubernetes 1.34, which the Go operator is built with: a field it does not know is not
// in its revisions, so these later ones are left out. With them gone the table equals the one of k8s.io/api v0.34.3.
var after134 = map[string]bool{
	"PodSpec.schedulingGroup":                  true,
	"PodCertificateProjection.userAnnotations": true,
}

type table map[string]map[string]field

func (t table) shapeOf(typ reflect.Type) shape {
	if kind, ok := special[typ]; ok {
		return shape{Kind: kind}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		found := t.shapeOf(typ.Elem())
		found.Pointer = true
		return found
	case reflect.String:
		return shape{Kind: "string"}
	case reflect.Bool:
		return shape{Kind: "bool"}
	case reflect.Int32, reflect.Int64:
		return shape{Kind: typ.Kind().String()}
	case reflect.Slice:
		of := t.shapeOf(typ.Elem())
		return shape{Kind: "slice", Of: &of}
	case reflect.Map:
		of := t.shapeOf(typ.Elem())
		return shape{Kind: "map", Of: &of}
	case reflect.Struct:
		t.add(typ)
		return shape{Kind: "struct", Type: typ.Name()}
	}
	panic(fmt.Sprintf("no encoding rule for %s", typ))
}

func (t table) add(typ reflect.Type) {
	if _, known := t[typ.Name()]; known {
		return
	}
	fields := map[string]field{}
	t[typ.Name()] = fields
	t.collect(typ.Name(), typ, fields)
}

// collect adds the fields of typ to those of the type owner; embedded structs are part of their owner in JSON.
func (t table) collect(owner string, typ reflect.Type, fields map[string]field) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() || after134[owner+"."+name]:
		case name == "" && f.Anonymous:
			t.collect(owner, f.Type, fields)
		default:
			one := field{shape: t.shapeOf(f.Type)}
			if strings.Contains(options, "omitzero") {
				one.Omit = "zero"
			} else if strings.Contains(options, "omitempty") {
				one.Omit = "empty"
			}
			fields[name] = one
		}
	}
}

func apiVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "k8s.io/api" {
			return module.Version
		}
	}
	return "unknown"
}

func main() {
	types := table{}
	types.add(reflect.TypeFor[corev1.PodTemplateSpec]())
	types.add(reflect.TypeFor[corev1.ServicePort]())
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(map[string]any{"source": "k8s.io/api " + apiVersion(), "types": types}); err != nil {
		panic(err)
	}
}
